"""HOW an answer is made: a turn goes in, a stream of events comes out."""
