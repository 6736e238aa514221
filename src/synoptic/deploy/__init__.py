"""The same methods at real sites: a coordinator and resident nodes over Flower's SuperLink."""
