"""The page: a run as one HTML file in which one steps through what happened to each packet. It needs no server and no network.

`scene.py` has what is shown, `document.py` makes the data of it (its format is `model.py`), `page.py` puts the data into the
template. The script of the page reads the document alone. Must not know commands or terminals.
"""
