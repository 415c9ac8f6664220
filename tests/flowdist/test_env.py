import pytest

from flowdist import DistError, RankInfo

COMPLETE = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "NODE_RANK": "1"}


def test_all_variables_are_read():
    assert RankInfo.from_environment(COMPLETE | {"HOME": "/"}) == RankInfo(5, 8, 1, 4, 1)


def test_no_variable_is_a_job_of_one():
    assert RankInfo.from_environment({"HOME": "/"}) == RankInfo(0, 1, 0, 1, 0)


@pytest.mark.parametrize("missing", COMPLETE)
def test_a_partial_set_names_what_is_missing(missing):
    with pytest.raises(DistError, match=f" {missing} missing; start with flowrun"):
        RankInfo.from_environment({name: value for name, value in COMPLETE.items() if name != missing})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"RANK": "8"}, "RANK=8 WORLD_SIZE=8"),
        ({"RANK": "-1"}, "RANK must be a whole number, got '-1'"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE must be a whole number, got ''"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0"),
        ({"LOCAL_RANK": "4"}, "LOCAL_RANK=4 LOCAL_WORLD_SIZE=4"),
        ({"LOCAL_WORLD_SIZE": "9"}, "LOCAL_WORLD_SIZE=9 WORLD_SIZE=8"),
        ({"NODE_RANK": "8"}, "NODE_RANK=8"),
        ({"NODE_RANK": "one"}, "NODE_RANK must be a whole number, got 'one'"),
    ],
)
def test_contradictions_are_refused(change, message):
    with pytest.raises(DistError, match=message):
        RankInfo.from_environment(COMPLETE | change)


@pytest.mark.parametrize("variable", ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE"])
def test_an_mpi_job_without_our_variables_is_refused_unless_it_is_one_process(variable):
    assert RankInfo.from_environment({variable: "1"}).world_size == 1
    with pytest.raises(DistError, match=f"started 3 processes \\({variable}\\)"):
        RankInfo.from_environment({variable: "3"})
