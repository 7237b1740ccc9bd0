with

source as (

    select
        *,
        {{ load_rank('id', ['_landed_at', 'updated_at']) }} as load_rank
    from {{ zendesk('organization') }}

),

renamed as (

    select
        ---------- ids
        cast(id as {{ dbt.type_string() }}) as zendesk_organization_id,
        external_id as workspace_id,
        ---------- attributes
        name as organization_name,
        ---------- timestamps
        {{ utc_timestamp('created_at') }} as created_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and not _is_deleted
        and id is not null

),

known as (

    select *
    from renamed
    where {{ not_after_clock('created_at') }}

)

select * from known
