"""Small networks, data sets and scripts that show `tf_lossprune` at work."""
