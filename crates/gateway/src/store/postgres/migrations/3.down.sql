DROP TABLE vestibule.history;
