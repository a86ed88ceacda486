"""Builder of the default body: from sampled `anny` adults to one SMPL-layout npz (DESIGN §4).

The steps, one module each: `population` draws adults, `skeleton` places the 24 joints and the T-pose,
`skinning` merges the weights and removes the source pose, `shape_space` reduces the adults to components,
`decimate` thins the surface, `landmarks` orders its vertices, `regressors` ties joints and keypoints to it,
`elastic` and `correctives` make it bend like flesh. `assemble` runs them in turn and `archive` writes the
file.
"""
