"""What the tests on a cluster stand on: the cluster, its images, traffic."""
