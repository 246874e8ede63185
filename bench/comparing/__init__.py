"""Two trees of the same project, measured side by side: `trees` has them ready to import, `building` compiles them,
`turns` is the load, `blocks` the measuring, `verdict` the words, `command` what a person types.
"""
