"""Cases before there is traffic: how many of what, written by a model, reviewed by a person."""
