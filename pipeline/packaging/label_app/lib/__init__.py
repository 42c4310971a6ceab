"""Parts of the app; none of them imports the rest of the project, which is not installed there."""
