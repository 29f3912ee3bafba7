"""The evaluation room: how good a pack or a checkpoint is, and how sure it may be.

Figures, intervals, thresholds and temperatures need numpy alone. Scores come from a pack (through
`worker.classify`, as the service runs it) or from a checkpoint (extra `train`: torch is imported only there).
"""
