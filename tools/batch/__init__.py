"""Many videos, each processed exactly once, by processes of this computer or by a Ray cluster.

`tools.batch.coordinator` hands videos to workers and keeps the books, `tools.batch.work` is what a worker
does with one video, `tools.batch.results` is how its results appear all at once, and `tools.batch.local`
and `tools.batch.cluster` are the two kinds of workers.
"""
