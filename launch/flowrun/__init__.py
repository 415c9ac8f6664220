"""Start one program on many ranks, and tell what went wrong: the command ``flowrun``.

``flowrun -n 2 script.py`` builds one ``mpiexec`` command line, starts every rank through a small wrapper, shows the
ranks' output as whole lines, reports the first failure with its traceback and leaves nobody alive.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
