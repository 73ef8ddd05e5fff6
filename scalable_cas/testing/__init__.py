"""What other packages test their own hashers, codecs and remotes with. Needs no test framework."""
