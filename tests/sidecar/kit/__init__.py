"""What the black-box tests are written with: raw clients, a scripted model server, processes."""
