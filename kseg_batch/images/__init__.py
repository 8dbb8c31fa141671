"""Image files and arrays: formats, decoding, label maps, PNG and COCO."""
