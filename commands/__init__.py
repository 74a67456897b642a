"""Talk: one file a verb. Each parses, opens what it needs, calls the core, and shows what came out."""
