"""The files of the state directory beside the store."""
