"""Many videos, each processed exactly once, by processes of this computer or by a Ray cluster.

`kinestream.tools.batch.coordinator` hands videos to workers and keeps the books,
`kinestream.tools.batch.work` is what a worker does with one video, `kinestream.tools.batch.results` is how
its results appear all at once, and `kinestream.tools.batch.local` and `kinestream.tools.batch.cluster` are
the two kinds of workers.
"""
