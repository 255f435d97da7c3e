"""The app: page config and navigation, nothing else. Start it with `make run` or `streamlit run app.py`."""

import streamlit as st

st.set_page_config(page_title="Weighbridge", page_icon=":material/scale:", layout="wide")
st.navigation(
    {
        "": [
            st.Page("pages/choose.py", title="Choose", default=True),
            st.Page("pages/size.py", title="Size"),
            st.Page("pages/hardware.py", title="Hardware"),
            st.Page("pages/compare.py", title="Compare"),
            st.Page("pages/licenses.py", title="Licences"),
            st.Page("pages/evaluate.py", title="Evaluate"),
            st.Page("pages/cost.py", title="Cost"),
            st.Page("pages/finetune.py", title="Fine-tune"),
            st.Page("pages/catalog.py", title="Catalog"),
        ],
        "More": [
            st.Page("pages/imports.py", title="Import"),
            st.Page("pages/guide.py", title="Guide"),
            st.Page("pages/accuracy.py", title="Accuracy"),
            st.Page("pages/sources.py", title="Sources"),
        ],
    },
    position="top",
).run()
