with

source as (

    select
        *,
        {{ load_rank(['ticket_id', 'field_name', 'updated'], '_fivetran_synced') }} as load_rank
    from {{ source('raw_zendesk', 'ticket_field_history') }}

),

renamed as (

    select
        ---------- ids
        cast(ticket_id as {{ dbt.type_string() }}) as ticket_id,
        ---------- attributes
        field_name,
        value as field_value,
        ---------- timestamps
        {{ utc_timestamp('updated') }} as changed_at,
        {{ utc_timestamp('_fivetran_synced') }} as loaded_at
    from source
    where
        load_rank = 1
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
