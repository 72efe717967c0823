from sgmim.data import eigen


def test_there_are_697_frames_to_test_on_25_of_each_of_28_drives_but_one():
    counts = {drive: len(eigen.test_frames(drive)) for drive in eigen.TEST}
    assert len(counts) == 28 and sum(counts.values()) == 697
    assert {drive: n for drive, n in counts.items() if n != 25} == {"2011_09_26_drive_0048": 22}


def test_652_of_them_have_ground_truth():
    known = [eigen.has_truth(drive, f) for drive in eigen.TEST for f in eigen.test_frames(drive)]
    assert sum(known) == eigen.TESTED == 652


def test_frames_of_a_drive_are_in_order_and_each_there_once():
    for drive in eigen.TEST:
        frames = eigen.test_frames(drive)
        assert frames == sorted(set(frames))


def test_the_published_oddities_are_kept():
    """Where the frames are not evenly spaced, as in the lists of monodepth2 and BTS."""
    assert eigen.test_frames("2011_09_26_drive_0002")[-4:] == [63, 69, 72, 75]
    assert eigen.test_frames("2011_09_26_drive_0013")[:6] == [0, 5, 10, 20, 30, 35]
    assert eigen.test_frames("2011_09_26_drive_0106")[:3] == [15, 35, 43]
    assert eigen.test_frames("2011_09_29_drive_0071")[-2:] == [951, 1054]


def test_no_drive_is_trained_and_tested_on():
    drives = eigen.train_drives()
    assert len(drives) == len(set(drives)) == 33
    assert not set(drives) & set(eigen.TEST)
