"""Labels a DuckDB table and asks about it in SQL.

python examples/duckdb_table.py
"""

import duckdb

from moodstream import Classifier

database = duckdb.connect()
database.execute("CREATE TABLE reviews (id INTEGER, product VARCHAR, body VARCHAR)")
database.execute(
    """
    INSERT INTO reviews VALUES
        (1, 'kettle', 'Boils fast, I love it.'),
        (2, 'kettle', 'It broke after two days.'),
        (3, 'lamp', 'Lovely warm light.'),
        (4, 'lamp', NULL)
    """
)

# In batches, so that a table of any length fits into memory.
classifier = Classifier()
database.execute("CREATE TABLE labels (id INTEGER, sentiment VARCHAR, score DOUBLE)")
for batch in database.sql("SELECT id, body FROM reviews").to_arrow_reader(10_000):
    labels = classifier.predict_frame(batch["body"]).append_column("id", batch["id"])
    writer = database.cursor()  # the first cursor is busy reading
    writer.register("batch_of_labels", labels)
    writer.execute("INSERT INTO labels SELECT id, sentiment_label, sentiment_score FROM batch_of_labels")

database.sql(
    """
    SELECT product, sentiment, count(*) AS reviews
    FROM reviews JOIN labels USING (id)
    GROUP BY ALL ORDER BY ALL
    """
).show()
