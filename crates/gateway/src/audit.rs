//! Where audit events go: standard output, a file, the decision log; and the metrics that count them.
