"""The whole daemon on virtual time: one seed is one run, and the same run again on replay."""
