"""A classifier applied to larger images: by convolutions where arithmetic allows, else window by window."""
