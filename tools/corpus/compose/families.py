"""All recipes, by family."""

from __future__ import annotations

import arch
import debian
import derivatives
import fedora
import flavours
import independent
import storage
import ubuntu
from machine import Recipe

RECIPES: tuple[Recipe, ...] = (
    *ubuntu.RECIPES,
    *flavours.RECIPES,
    *debian.RECIPES,
    *derivatives.RECIPES,
    *fedora.RECIPES,
    *arch.RECIPES,
    *independent.RECIPES,
    *storage.RECIPES,
)
