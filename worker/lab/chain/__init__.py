"""The chain of stages that makes the bundled packs: `python -m worker.lab.chain`, which `make pack` runs.

`stages` lists the stages, `places` says where each one reads and writes, `record` what a stage has left,
`needs` what must be there before it begins, and `runner` runs what is to be done. Each stage runs in a
process of its own (`stage`). `smoke` runs the whole list on tiny models and made-up rows (`rows`, `bases`).
"""
