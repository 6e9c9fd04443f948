"""The built-in text: five domains that every installation holds."""
