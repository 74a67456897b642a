"""The report's figures: of each first its values, frozen and without a pixel, then the drawing of them."""
