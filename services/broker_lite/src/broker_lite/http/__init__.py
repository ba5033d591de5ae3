"""The HTTP surface: routes, HAL bodies, errors, authentication."""
