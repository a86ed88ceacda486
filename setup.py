"""Maps the four top-level folders to one import name, `kinestream`; all else is in pyproject.toml."""

from setuptools import find_packages, setup

FOLDERS = {
    "kinestream": "tracker",
    "kinestream.kernels": "kernels",
    "kinestream.trainer": "trainer",
    "kinestream.tools": "tools",
}

setup(
    package_dir=FOLDERS,
    packages=[
        package
        for name, folder in FOLDERS.items()
        for package in (name, *(f"{name}.{found}" for found in find_packages(folder)))
    ],
)
