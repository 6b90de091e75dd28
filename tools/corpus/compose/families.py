"""All recipes, by family."""

from __future__ import annotations

import arch
import debian
import derivatives
import fedora
import ubuntu
from machine import Recipe

RECIPES: tuple[Recipe, ...] = (
    *ubuntu.RECIPES,
    *fedora.RECIPES,
    *arch.RECIPES,
    *debian.RECIPES,
    *derivatives.RECIPES,
)
