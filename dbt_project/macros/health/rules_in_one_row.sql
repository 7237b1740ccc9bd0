{#
    A rule file turned on its side, as a subselect of one row: `<name>_<setting>` for each line and setting. Joined to
    millions of rows it costs next to nothing, since every value is a constant.

    rules     the rule model
    line      column that names a line
    names     the lines
    settings  {column: type}
#}
{% macro rules_in_one_row(rules, line, names, settings) -%}
    (
        select
            {%- for name in names %}
            {%- set last_name = loop.last %}
            {%- for setting, type in settings.items() %}
            max(case when {{ line }} = '{{ name }}' then cast({{ setting }} as {{ type }}) end) as {{ name }}_{{ setting }}
            {{- ',' if not (last_name and loop.last) }}
            {%- endfor %}
            {%- endfor %}
        from {{ rules }}
    )
{%- endmacro %}

{# Points of a value between the one worth none and the one worth all of them, 0 to 100; whichever is the larger. #}
{% macro threshold_points(value, at_0, at_100) -%}
    100 * greatest(0, least(1, ({{ value }} - {{ at_0 }}) / nullif({{ at_100 }} - {{ at_0 }}, 0)))
{%- endmacro %}

{#
    Points of a value among its peers, 0 to 100: a tenth of the way for each tenth of the peers it has passed, straight
    between them; a value that many peers share lies in the middle of them.
#}
{% macro percentile_points(value, knots) -%}
    (
        {%- for tenth in range(1, 11) %}
        {%- set low = knots ~ '_p' ~ (tenth - 1) * 10 %}
        {%- set high = knots ~ '_p' ~ tenth * 10 %}
        case
            when {{ value }} > {{ high }} then 10
            when {{ value }} < {{ low }} then 0
            when {{ high }} = {{ low }} then 5
            else 10 * ({{ value }} - {{ low }}) / ({{ high }} - {{ low }})
        end{{ ' +' if not loop.last }}
        {%- endfor %}
    )
{%- endmacro %}

{# The weights of a dimension's measures that are present, summed up; times their points where asked. #}
{% macro dimension_sum(dimension, measures, points=none) -%}
    (
        {%- for measure in measures %}
        case
            when {{ measure }}_dimension = '{{ dimension }}' and {{ measure }}_points is not null
                then {{ measure }}_weight{{ ' * ' ~ measure ~ '_points' if points }}
            else 0
        end{{ ' +' if not loop.last }}
        {%- endfor %}
    )
{%- endmacro %}

{# `<before><name><ending>` for each name, one after the other. #}
{% macro columns_listed(before, names, ending) -%}
    {%- for name in names -%}
        {{ before }}{{ name }}{{ ending }}{{ ', ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{# The columns `<name><ending>` summed up. #}
{% macro columns_sum(names, ending) -%}
    {%- for name in names -%}
        {{ name }}{{ ending }}{{ ' + ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{# The columns `<name><weight> x <name><value>` summed up; a value that is missing counts nothing. #}
{% macro weighted_sum(names, weight, value) -%}
    (
        {%- for name in names -%}
        {{ name }}{{ weight }} * coalesce({{ name }}{{ value }}, 0){{ ' + ' if not loop.last }}
        {%- endfor -%}
    )
{%- endmacro %}
