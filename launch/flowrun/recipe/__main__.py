"""``python -m flowrun.recipe RECIPE key=value…``: what every rank of ``flowrun -n N RECIPE …`` runs."""

from flowrun.recipe.main import main

if __name__ == "__main__":
    main()
