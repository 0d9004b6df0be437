"""What the people who run the jobs need: upkeep, history, migrations, forgetting a person."""
