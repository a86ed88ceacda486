"""Triangle rasteriser with textures, in three backends that share one interface.

`reference` is slow and obvious, `cpu` is compiled with numba, `gpu` runs on NVIDIA GPUs. Each has
`draw(target, mesh, K)`, `resolve(target, background)` and `vertex_visibility(target, vertices_m, K)`.
Camera frame: OpenCV (x right, y down, z forward), metres; pixel centres at integer coordinates.
"""

from kinestream.kernels.raster.mesh import Material, MaterialTable, Mesh, plain_mesh
from kinestream.kernels.raster.target import Target, ToneCurve
from kinestream.kernels.raster.texture import TextureBank

__all__ = ["Material", "MaterialTable", "Mesh", "Target", "TextureBank", "ToneCurve", "plain_mesh"]
