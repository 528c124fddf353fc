"""The commands, a file per group: parse, call one function of a room, print."""
