"""Walking a folder: each file once, and a reason for all else."""

import os

from pipeline.walk import walk


def test_every_name_below_a_folder_is_a_file_or_has_a_reason(tmp_path):
    folder, other = tmp_path / "given", tmp_path / "other"
    for path in (folder / "b/1.nii", folder / "a.nii", folder / ".git/x", other / "2.nii"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    os.mkfifo(folder / "pipe")
    for name, target in {
        "0_again": "b",  # sorts before the folder itself
        "b/up": "..",
        "far": tmp_path,  # around what is given
        "dead": "gone",
        "itself": "itself",
        "c_linked": other,
        "d_linked": other,
        "e.nii": "a.nii",
    }.items():
        (folder / name).symlink_to(target)
    (other / "back").symlink_to(folder / "b")
    files, left_out = walk(folder)
    names = [str(path.relative_to(folder)) for path in files]
    assert names == ["a.nii", "b/1.nii", "c_linked/2.nii", "e.nii"]
    reasons = {str(path.relative_to(folder)): reason for path, reason in left_out}
    assert reasons == {
        ".git": "it is hidden: its name begins with a dot",
        "0_again": f"it is the folder {folder / 'b'}, which is read under that name",
        "b/up": f"it is the folder {folder}, which is read under that name",
        "c_linked/back": f"it is the folder {folder / 'b'}, which is read under that name",
        "d_linked": f"it is the folder {folder / 'c_linked'}, which is read under that name",
        "dead": "it is a link to nothing: gone",
        "far": f"it is a link to a folder around it, {tmp_path}",
        "itself": "it is a link to nothing: itself",
        "pipe": "it is neither a file nor a folder",
    }


def test_a_folder_given_by_a_link_is_walked(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.nii").touch()
    (tmp_path / "link").symlink_to("real")
    assert walk(tmp_path / "link") == ([tmp_path / "link/a.nii"], [])
