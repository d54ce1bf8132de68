//! Decision × kind of client → response. Nothing else writes a refusal.
