"""Recipes: settings of `keras-genimg train` that reproduce a published number, as JSON files."""

from keras_genimg.recipes.reading import read_recipe, recipe_names

__all__ = ["read_recipe", "recipe_names"]
