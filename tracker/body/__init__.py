"""The body: skeleton, rotations, camera, body model and its fast kinematics."""
