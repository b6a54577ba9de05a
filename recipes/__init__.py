"""Recipes: data, never code."""
