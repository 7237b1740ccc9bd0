{# The place of a stage on the way, to order by. #}
{% macro stage_order(column) -%}
    case {{ column }} when 'presales' then 1 when 'onboarding' then 2 when 'adoption' then 3 when 'growth' then 4 else 5 end
{%- endmacro %}
