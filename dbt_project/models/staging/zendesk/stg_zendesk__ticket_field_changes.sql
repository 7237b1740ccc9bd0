with

source as (

    select
        *,
        {{ load_rank(['ticket_id', 'field_name', 'updated'], '_landed_at') }} as load_rank
    from {{ zendesk('ticket_field_history') }}

),

renamed as (

    select
        ---------- ids
        cast(ticket_id as {{ dbt.type_string() }}) as ticket_id,
        ---------- attributes
        field_name,
        -- good_with_comment is good
        case
            when field_name <> 'satisfaction_score' then value
            when value like 'good%' then 'good'
            when value like 'bad%' then 'bad'
            else value
        end as field_value,
        ---------- timestamps
        {{ utc_timestamp('updated') }} as changed_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and not _is_deleted
        and ticket_id is not null
        and field_name is not null
        and updated is not null

),

known as (

    select *
    from renamed
    where changed_at <= {{ as_of_at() }}

)

select * from known
