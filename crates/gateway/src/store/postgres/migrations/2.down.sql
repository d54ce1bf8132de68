DROP FUNCTION vestibule.remove_group(text, bigint, text);
DROP FUNCTION vestibule.insert_entry(text, bytea, bigint, bigint, bigint, text[], text, bigint);
DROP TABLE vestibule.member;
DROP TABLE vestibule.entry;
