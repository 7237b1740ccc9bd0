-- About how many people or customers each trigger has an episode on each day that was built, and who came and went since
-- the day built before. A day is not written again once a later one stands.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='as_of_date',
    full_refresh=false,
    on_schema_change='append_new_columns',
) }}

with

members as (

    select * from {{ ref('trigger_members') }}

),

-- a trigger without an episode is there, with nobody
names as (

    {% for trigger in var('triggers') %}
    select '{{ trigger }}' as trigger_name
    {% if not loop.last %}
    union all
    {% endif %}
    {% endfor %}

),

{{ sizes_of_the_day('trigger_name') }}

select * from final
