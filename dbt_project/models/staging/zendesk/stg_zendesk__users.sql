with

source as (

    select
        *,
        {{ load_rank('id', ['_landed_at', 'updated_at'], ties=['email', 'organization_id']) }} as load_rank
    from {{ zendesk('user') }}

),

renamed as (

    select
        ---------- ids
        cast(id as {{ dbt.type_string() }}) as zendesk_user_id,
        cast(organization_id as {{ dbt.type_string() }}) as zendesk_organization_id,
        ---------- attributes
        {{ normalised_email('email') }} as email,
        name as full_name,
        role,
        locale,
        time_zone,
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
