//! The shortcuts around architecture §5 do not compile, each for its own reason.

#[test]
fn the_shortcuts_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/shortcuts/*.rs");
}
