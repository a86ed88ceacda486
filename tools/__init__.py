"""What stands on the library: the command line, benchmarks, exports, viewers, builders."""
