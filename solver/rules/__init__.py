"""The seven rules of docs/rules.md in three readings that share nothing: masks, model, checker."""
