"""The page in the browser: Gradio's parts, what the browser asks for, and the scripts that know what is on screen."""
