"""Recipes: settings of `keras-genimg train` that reproduce a published number, a JSON file each."""

from keras_genimg.recipes.reading import read_recipe, recipe_names

__all__ = ["read_recipe", "recipe_names"]
