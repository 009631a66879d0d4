"""What pyproject.toml cannot say: the records of gallery/ are packaged as lab/gallery."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["deltalab", "lab", "lab.*", "experiments", "app", "app.*"]),
        "app.views",
        "lab.gallery",
    ],
    package_dir={"lab.gallery": "gallery"},
    include_package_data=False,  # what is named is enough; setuptools would warn of every record, a folder
    package_data={"app": ["*.svg", "*.toml"], "lab.gallery": ["**/*"]},
)
